"""What an operator sees and steers: API, dashboard, and what both ask of the relay."""
