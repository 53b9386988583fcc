"""An engine over SGLang's HTTP protocol: `python -m clawjax.engine.server`."""
