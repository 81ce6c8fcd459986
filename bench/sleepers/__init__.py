"""What bench/farm.py is made of: a compiler that sleeps, and farms that run it."""
