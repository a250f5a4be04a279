"""What an operator asks before the first load balancer is made: is everything right here and in the cloud, and make what is missing."""
