"""What tests and scripts stand on: contract suites, a simulated world, models.

Outside the order of rooms: it may import every room, and no room imports it.
"""
