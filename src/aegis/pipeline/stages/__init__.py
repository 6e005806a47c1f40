"""The stages 0 to 9. Their order is the tuple that the gateway role builds; stage 10 is the recorder."""
