"""An attack of one's own: noise in random directions, ever shorter; the last that fools the network counts.

    ./eval.sh examples/own-attack.py logs/RUN
"""

import numpy as np

import core
from models.attacks import Attack
from models.attacks.base import Proposal


class Noise(Attack):
    """L2 distances of images with noise; ``trials`` lengths of it are tried, from that of the box down."""

    def __init__(self, model, trials: int = 20):
        super().__init__(model)
        self.trials = trials

    def _run(self, x, y, rng):
        best, found = x.copy(), np.zeros(len(x), bool)
        for length in np.linspace(1, 0, self.trials, endpoint=False):
            noisy = np.clip(x + length * rng.choice([-1, 1], x.shape), *self.bounds).astype('float32')
            fooled = self.logits(noisy).argmax(axis=1) != y
            best[fooled], found = noisy[fooled], found | fooled
        return Proposal(best, found)


core.register('attack', 'NOISE', Noise)
FLAGS = {'task': 'attack', 'attack_type': 'NOISE', 'attack_set': 'test', 'attack_options': {'trials': 50}}

if __name__ == '__main__':
    core.app_start(FLAGS)
