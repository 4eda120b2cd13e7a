"""Layers that generators and discriminators of several papers share. They know neither options nor registries."""
