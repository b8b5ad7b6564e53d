"""The parts that encoders are made of."""
