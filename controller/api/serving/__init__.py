"""How requests come in: only whole ones reach the application, and none takes a thread before.

connections.py   HTTP on a socket: a request has to be whole in time, and only so many connections are open
requests.py      a request, its body held on disk if it is large, and what WSGI calls its environment
threads.py       a whole request is answered by the WSGI application on a thread
refusals.py      what is answered to requests that the application never sees
"""
