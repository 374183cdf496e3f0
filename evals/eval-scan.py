"""The loss, down to 1e-300 and below, and the accuracy along one or two directions from the weights of a run, on clean
images and on images attacked within budgets.

    ./eval.sh eval-scan logs/RUN --gpu 0
    ./eval.sh eval-scan logs/RUN --set "options.directions=['filter', 'filter']" --set attack_eps_list=[0,0.1]
    ./eval.sh eval-scan logs/RUN --set "options.directions=('towards', 'logs/OTHER')"
    ./eval.sh eval-scan logs/RUN --set "options.directions=('eigenvector', 'logs/RUN/eval-hessian/DATE', 0)"
    ./eval.sh eval-scan logs/RUN --set options.directions=pca --set eid=all
    ./plot.sh figure-scan logs/RUN

The same --seed is the same random directions. Random ones and eigenvectors are looked at from -1 to 1, those towards a
run from -0.5 to 1.5, components as far as the epochs go; options.ranges=(low, high, step) says otherwise.
"""

import core

FLAGS = {
    'task': 'scan',
    'eid': 'last',
    'attack_type': core.AttackType.PGD,
    'attack_set': 'train',
    'attack_N': 'all',
    'attack_B': 500,
    'attack_eps_list': [0.0],
    'attack_K': 10,
    'attack_E': 1,
    'lr': 0.25,  # of the budget, a step
    'options': {'directions': 'filter', 'adv_calc_freq': 1},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
