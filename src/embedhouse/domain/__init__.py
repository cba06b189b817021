"""The words of the field as frozen types. Imports nothing but the standard library, msgspec and numpy."""
