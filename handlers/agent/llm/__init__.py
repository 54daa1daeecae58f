"""Language models: Ollama, servers that speak OpenAI's protocol, the built-in one, and the chain of them."""
