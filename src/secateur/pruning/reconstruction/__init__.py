"""Reconstruction: the layers after a removal make up for the channels that are gone."""
