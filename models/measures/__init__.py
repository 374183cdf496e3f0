"""What is measured of a trained network, a file each."""
