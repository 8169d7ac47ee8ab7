"""The shipped world: word problems, the script that pretrains the tiny student, loading and sampling it. Imports method only."""
