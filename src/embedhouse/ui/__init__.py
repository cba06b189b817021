"""The page to try the house: plain HTML, CSS and JavaScript, served as they are. Nothing is loaded from elsewhere.

Text from outside is only ever put in as text (`textContent`, text nodes), never as markup.
"""
