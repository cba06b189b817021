"""What embeddings cost: prices, the meter that adds up, and the budgets that it keeps."""
