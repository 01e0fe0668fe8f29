"""How a search decides: one file a question, one frozen class an answer."""
