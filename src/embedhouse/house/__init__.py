"""The facade: everything that the shell, HTTP and Python programs ask of a house."""

from embedhouse.house.house import House

__all__ = ["House"]
