from .remote import connect as connect
