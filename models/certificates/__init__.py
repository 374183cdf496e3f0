"""Certificates by linear relaxation: radii within which no image has another class; see ``certifier``."""
