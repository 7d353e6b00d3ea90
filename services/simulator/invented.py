"""The made-up people and places of synthetic leads."""

from __future__ import annotations

GIVEN_NAMES = (
    *("Aarav", "Abha", "Advik", "Anvi", "Bhavin", "Charu", "Daksh", "Esha", "Farhan", "Gauri", "Harit", "Ila"),
    *("Jatin", "Kavya", "Lalit", "Meera", "Nakul", "Ojas", "Parul", "Ravi", "Sanvi", "Tarun", "Uma", "Vihaan"),
    *("Yamini", "Zoya", "Ada", "Bruno", "Carla", "Diego", "Elif", "Finn"),
)
SURNAMES = (
    *("Amberwala", "Banyankar", "Chandanpur", "Deodarwal", "Ekantgiri", "Fulwari", "Gulmoharia", "Himgiri"),
    *("Indrakund", "Jalsagar", "Kesarwadi", "Lotuswala", "Mayurkar", "Neelgiriya", "Oakwallah", "Peepalkar"),
    *("Quillmore", "Rangmahal", "Samudrika", "Tamarindi", "Ushapuri", "Vanarani", "Wintermere", "Yellowfield"),
)
CUSTOMER_TYPES = ("New", "New customer", "Existing", "Returning", "E")
ADDRESSES = (
    "1 Example Street, Sampleganj",
    "22 Test Marg, Dummypur 000022",
    "Flat 303, Placeholder Towers, Fiktivnagar",
    "4 Nowhere Lane\nMock Town",
)
MESSAGES = (
    "Please call me after six.",
    "I would like a test drive at the weekend.",
    "कृपया मुझे कॉल करें",
    "Saw your advert; what does it cost, all in?",
    "Is it to be had in green? 🙂",
)
UNKNOWN_BUSINESS_LINE = "Perpetual Motion (simulated, unknown)"
