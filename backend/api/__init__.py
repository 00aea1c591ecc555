"""The public interface: sessions, remote functions and actors, get, put, wait."""
