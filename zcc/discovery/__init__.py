"""Where a farm's broker is: what is announced in the networks at hand, and what DNS says of a domain's.

What is found is an address and a claim, never trust: a token or a key that is known decides who is joined.
"""
