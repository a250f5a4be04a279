"""The nouns: frozen dataclasses and enums. Nothing here does input or output, and nothing here knows of another package of ours."""
