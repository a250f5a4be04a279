"""What a write means: one module for each noun, whose functions take a change on or say which rule it breaks. No request is needed.

`asking` is who asks, and with what; `settings` are the operator's values. Whatever a module needs beside the rows (the network service,
the secret store) it asks before its transaction begins.
"""
