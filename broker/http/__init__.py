"""What every HTTP door of the broker has: who may come in and stay, whose turn it is, how a request is read."""
