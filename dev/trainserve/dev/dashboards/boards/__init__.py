"""The boards, a module or package each."""
