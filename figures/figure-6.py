"""The paper's figure 6: training loss and normalised margin of VGG-16 on CIFAR-10, with and without biases, at the
loss-based learning rate.

    ./plot.sh figure-6 logs/exper-final-cifar-vgg-loss-based-lr/* logs/exper-final-cifar-biased-vgg-loss-based-lr/*
"""

import core
from core.plotting import loss_and_margin as draw

if __name__ == '__main__':
    core.plot_start(draw)
