"""An objective of one's own: the multiclass hinge, max(0, gamma + the best other logit - the right one).

    ./run.sh examples/own-objective.py
"""

import tensorflow as tf

import core
from models.objectives import Objective


class Hinge(Objective):
    """Losses of samples whose logit of the right class does not lead by ``gamma``."""

    def __init__(self, gamma: float = 1.0):
        self.gamma = gamma

    def losses_of(self, run):
        logits = tf.cast(run.logits, tf.float64)
        right = tf.one_hot(run.y, logits.shape[1], on_value=True, off_value=False)
        others = tf.reduce_max(tf.where(right, tf.float64.min, logits), axis=1)
        return tf.nn.relu(self.gamma + others - tf.reduce_max(tf.where(right, logits, tf.float64.min), axis=1))


core.register('objective', 'hinge', Hinge)
FLAGS = {'like': 'exper-quickstart-digits', 'train_mode': 'NORMAL', 'lr': 0.1, 'archive': 'idle', 'E': 20,
         'objective': {'type': 'hinge', 'gamma': 2.0}}

if __name__ == '__main__':
    core.app_start(FLAGS)
