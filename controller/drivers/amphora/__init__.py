"""How an amphora is told what to do."""
