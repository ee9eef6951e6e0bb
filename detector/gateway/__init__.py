"""What a gateway imports: the control topic's view and the client on it. No Faust."""
