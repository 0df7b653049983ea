"""How sound the data is."""
