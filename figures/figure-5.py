"""The paper's figure 5: training loss and normalised margin of VGG-16 on CIFAR-10, with and without biases, at a
constant learning rate.

    ./plot.sh figure-5 logs/exper-final-cifar-vgg-const-lr-1/* logs/exper-final-cifar-biased-vgg-const-lr-1/*
"""

import core
from core.plotting import loss_and_margin as draw

if __name__ == '__main__':
    core.plot_start(draw)
