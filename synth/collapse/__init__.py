"""The laboratory of model collapse: generators that learn from what their predecessors drew, under one policy or another."""
