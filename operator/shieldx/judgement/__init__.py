"""What a spec asks of the decision engine: for the operator, forecasts and replays alike; pure."""
