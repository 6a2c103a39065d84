from .remote import Remote as Remote, connect as connect
