"""The LM boundary: every call is admitted, limited, tried again, and counted here."""
