"""What notebooks call: the set-up cell, exercise checks, and for maintainers the stamps. Of the package it imports method only."""
