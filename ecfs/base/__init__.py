"""The ground floor: ids, units, limits, errors, and the outside world as constructor arguments.

Owns nothing that is stored and imports no other room.
"""
