"""How families of models write tool calls and thoughts: one small file each."""
