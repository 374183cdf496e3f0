"""exper-curve-digits as a polygonal chain: two straight lines that meet at the bend.

    ./run.sh exper-curve-digits-polygon --ends logs/A --ends logs/B
"""

import core

FLAGS = {
    'like': 'exper-curve-digits',
    'model.chain': 'polygon',
}

if __name__ == '__main__':
    core.app_start(FLAGS)
