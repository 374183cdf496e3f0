"""How alike runs are, of each two: the cosine similarity of the perturbations that one attack makes of the same images
on the network of each, plain and of their signs, and the distance of their parameters. The comparison is in the
directory of the first.

    ./eval.sh eval-compare logs/RUN logs/OTHER [logs/THIRD ...] --set attack_eps_list=[0.1]
"""

import core

FLAGS = {
    'task': 'compare',
    'eid': 'best',  # of a run that keeps none, the last
    'attack_type': core.AttackType.PGD,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_eps_list': [0.1],
    'attack_K': 20,
    'attack_E': 1,
    'lr': 0.1,  # of the budget, a step
}

if __name__ == '__main__':
    core.app_start(FLAGS)
