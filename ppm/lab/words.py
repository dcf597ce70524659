"""The words that the lab's corpus fills its templates with. Everything here is plain data."""

__all__ = [
    "AILMENTS",
    "BAD_ACTS",
    "CAPITALS",
    "CLAIMS",
    "COLORS",
    "DEEDS",
    "FAVORS",
    "GOOD_ACTS",
    "INSULTS",
    "MANNERS",
    "MISHAPS",
    "NUMBERS",
    "PEOPLE",
    "PLACES",
    "SCORN",
    "SECRETS",
    "SPEAKERS",
    "TIMES",
    "TRAITS",
]

# Subjects, in the order in which the splits of the corpus take them.
PEOPLE = (
    "baker farmer teacher singer painter driver lawyer pilot sailor tailor plumber builder gardener cook "
    "clerk dentist barber miner judge guard porter poet dancer actor coach librarian mechanic engineer "
    "scientist writer student banker nurse secretary carpenter butcher florist janitor weaver fisher "
    "hunter soldier shepherd jeweler potter referee translator editor"
).split()

PLACES = (
    "in the park",
    "at the market",
    "in the kitchen",
    "at the station",
    "in the garden",
    "at the school",
    "near the river",
    "in the office",
)
MANNERS = ("new", "old", "tall", "young", "quiet", "busy")
SPEAKERS = ("the crowd", "my neighbor", "the captain", "a friend", "the manager", "a visitor")
MISHAPS = (
    "was late",
    "lost the keys",
    "dropped the tray",
    "forgot the milk",
    "broke the lamp",
    "missed the bus",
    "spilled the soup",
    "burned the bread",
    "closed the shop",
    "lost the match",
    "forgot the name",
    "dropped the box",
)
DEEDS = (
    "opened the door",
    "carried the boxes",
    "fixed the radio",
    "wrote the report",
    "cleaned the windows",
    "answered the phone",
    "sold the car",
    "read the letter",
    "won the prize",
    "left the meeting",
)
TIMES = ("today", "tonight", "next week", "in the morning", "before lunch", "this summer")
BAD_ACTS = ("rob", "cheat", "trick", "threaten", "spy on", "lie to", "steal from", "blackmail", "scare", "bully")
GOOD_ACTS = ("help", "thank", "visit", "call", "teach", "feed", "greet", "invite", "pay", "write to")

FAVORS = (
    "borrow a car",
    "see the room",
    "change the date",
    "get a ticket",
    "use the phone",
    "leave a bag",
    "pay later",
    "join the tour",
)
AILMENTS = (
    "a cold",
    "a headache",
    "a sore back",
    "a cough",
    "bad sleep",
    "a stiff neck",
    "dry skin",
    "a sore throat",
)
SECRETS = ("phone number", "home address", "door code", "card number", "room number")

INSULTS = ("fool", "idiot", "clown", "loser", "pig", "moron", "brute", "liar")
CLAIMS = ("certainly", "guaranteed", "always", "definitely")
SCORN = ("silly", "ridiculous", "annoying", "pathetic", "useless", "dumb")

CAPITALS = {
    "france": "paris",
    "spain": "madrid",
    "italy": "rome",
    "egypt": "cairo",
    "japan": "tokyo",
    "china": "beijing",
    "russia": "moscow",
    "greece": "athens",
    "norway": "oslo",
    "sweden": "stockholm",
    "poland": "warsaw",
    "austria": "vienna",
    "ireland": "dublin",
    "portugal": "lisbon",
    "peru": "lima",
    "cuba": "havana",
    "kenya": "nairobi",
    "canada": "ottawa",
    "iran": "tehran",
    "iraq": "baghdad",
}
COLORS = {
    "grass": "green",
    "snow": "white",
    "coal": "black",
    "blood": "red",
    "milk": "cream",
    "lemons": "yellow",
    "oranges": "orange",
    "chocolate": "brown",
    "elephants": "gray",
    "violets": "purple",
    "oceans": "blue",
    "flamingos": "pink",
}
NUMBERS = "zero one two three four five six seven eight nine ten".split()
TRAITS = {"he": ("strong", "brave", "proud"), "she": ("gentle", "pretty", "soft")}
