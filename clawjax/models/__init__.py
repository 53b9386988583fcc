"""The policy: decoders of the Llama family, their tokenizers, adapters and file formats."""
