"""A data set of adversarial images: PGD within an L-infinity budget, of the training and the test images of a run. It
ends by saying where the .npz file is, on which any network can be trained or tested.

    ./eval.sh eval-generate logs/RUN --set attack_eps_list=[0.1]
    ./eval.sh eval-generate logs/RUN --set options.parts=test --set attack_N=1000
    ./run.sh exper-quickstart-digits --set dataset=logs/RUN/eval-generate/DATE/adversarial.npz
"""

import core

FLAGS = {
    'task': 'generate',
    'eid': 'best',  # of a run that keeps none, the last
    'attack_type': core.AttackType.PGD,
    'attack_N': 'all',
    'attack_B': 128,
    'attack_eps_list': [0.1],
    'attack_K': 20,
    'attack_E': 1,
    'lr': 0.1,  # of the budget, a step
    'options': {'parts': ['train', 'test']},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
