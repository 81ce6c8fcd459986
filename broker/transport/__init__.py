"""Between the socket and the machine: who may connect, what is read when, what is sent."""
