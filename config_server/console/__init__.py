"""What can be seen of the config server with a browser or a scraper?"""
