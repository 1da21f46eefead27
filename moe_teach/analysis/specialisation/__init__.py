"""How far experts specialise: every measure is a pure function, and each has its chance level.

Expert ids are (T, K), labels (T,): domains, token ids, positions, whatever one asks about. A
measure without its null says nothing: with few tokens and many experts, chance alone has shares.
"""
