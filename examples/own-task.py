"""A task of one's own: which classes the images of each class are taken for.

    ./eval.sh examples/own-task.py logs/RUN
"""

import numpy as np

import core
from core.tasks.base import Evaluation


class Confusion(Evaluation):
    """``res`` holds eid -> {'confusion': int64 [C, C], images by their class and the predicted one}."""

    def measure(self, eid):
        logits = self.session.model.predict(self.images).numpy()
        confusion = np.zeros((logits.shape[1], logits.shape[1]), int)
        np.add.at(confusion, (self.labels, logits.argmax(axis=1)), 1)
        return {'confusion': confusion}, {'accuracy': float(np.trace(confusion) / confusion.sum())}

    def line(self, eid, numbers):
        return f'epoch #{eid}: acc={100 * numbers["accuracy"]:.2f}%'


core.register('task', 'confusion', Confusion)
FLAGS = {'task': 'confusion', 'attack_set': 'test'}

if __name__ == '__main__':
    core.app_start(FLAGS)
