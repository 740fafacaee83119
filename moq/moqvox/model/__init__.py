"""Publish and subscribe in memory: origin, broadcast, track, group, frame."""
