"""The one list of dependencies; run.sh and the other scripts make their environment from it."""

from setuptools import find_packages, setup

setup(
    name='max-margin',
    version='0.1.0',
    description='Train deep networks to a large margin, measure it, and see how it got there',
    license='MIT',
    packages=find_packages(include=['core', 'core.*', 'models', 'models.*']),
    python_requires='>=3.10,<3.14',
    install_requires=[
        'absl-py',
        'importlib_resources',  # tensorflow-datasets 4.9.10 imports it without declaring it
        'keras>=3',
        'matplotlib',
        'numpy',
        'scikit-learn',
        'scipy',
        'tensorboard',
        'tensorflow>=2.16',
        'tensorflow-datasets',
        'tqdm',
    ],
    extras_require={
        'gpu': ['tensorflow[and-cuda]>=2.16'],
        # examples/import-torch.py reads what others release; examples/with-*.py run what others attack with
        'peers': ['foolbox>=3.3', 'torch'],
        'test': ['foolbox>=3.3', 'hypothesis', 'mypy', 'pytest', 'pytest-cov', 'pytest-xdist', 'ruff'],
    },
)
