//! Things that are counted, in singular: what word problems are about. Words that are or may be a number of their own
//! have no place here: half, quarter, third, pair, couple, dozen, score, hundred.

pub(super) const NOUNS: &str = "
    accident account ace acorn action activity actor actress adult album alligator almond android angle animal
    announcement ant apartment app apple application appointment apricot arrangement arrow article artist assignment
    assistant athlete attempt attendee audience aunt author avocado award axe baby backpack badge bag bagel baker
    balcony ball ballerina balloon ballot banana band bandage bandit banner barn baron basket basketball bat batch
    bathroom battalion battery beach bead beaker bean bear beat beaver bed bedroom bee beef beehive beer beetle bell
    belt bench berry beverage bicycle bike bill bin bird birthday biscuit blanket block blog blossom blouse
    blueberry board boat bolt bomb bone bonus book bookcase bookmark bookshelf boot bottle bouquet bow bowl box boy
    bracelet branch bread brick bridge brother brownie brush bubble bucket bug builder building bulb bull bun bunch
    bunny burger burpee burrito bus bush business butter butterfly button buyer cabbage cabin cabinet cactus cafe
    cage cake calf call camera camp camper can candle candy canoe cantaloupe canvas cap car caramel card cardboard
    care caribou carnation carp carpet carrot cart carton cartoon case cashew cat caterpillar cattle celebrity cell
    cereal chain chair chameleon champion chandelier chapter character charge charm chart check cheese cheetah chef
    cherry chick chicken child chimichanga chip chocolate choice chord chore church cicada cinnamon circle citizen
    city clam class classmate classroom clementine click client clip clock cloud clown clownfish club clue coach
    coat cobra coconut coffee collar colleague college color colour column combination comic commercial committee
    company competitor computer concert cone configuration consonant contact container contest contestant cook
    cookbook cookie cooler copy cork corn corner costume cottage couch cougar country coupon course court cousin cow
    cowboy coworker crab cracker crane crate crayon crew cricket crocodile croissant crop crow cruise crumb crystal
    cub cucumber cupcake curtain cushion customer cycle cyclist cymbal dad daffodil dancer dart date daughter deal
    deck decoration deer delivery den dentist department deposit design desk dessert detective device diagonal
    diamond diaper dictionary digit dinner dinosaur director discount dish dishwasher dive diver dock doctor
    document doe dog doll dolphin domino donation donkey donor donut door doorbell dose doughnut download dragon
    drawer drawing dress dresser dressing drink driver drone drop drum drummer duck duckling dumbbell dumpling dwarf
    eagle ear earring edge egg eggplant element elephant elevator elf email employee engine engineer enrollment
    entrance envelope episode eraser error essay event exam examination example exercise exit experiment eye face
     factory fairy family fan farm farmer faucet favor fawn feather fee fence field fig fighter figurine file
    film finger fire firefighter firefly firework fish fisherman flag flagstone flamingo flashlight flat flavor flea
    flight flock floor florist flour flower fly foal folder follower food football fork form fossil fox frame
    freezer freshman friend fries frog fruit fundraiser galaxy gallery game garage garden garlic garment gas gate
    gazelle gear geranium ghost giant gift giraffe girl glass globe glove glue goal goat gold goldfish golfer
    gorilla grade graduate gramophone grandchild granddaughter grandfather grandmother grandson grape grapefruit
    graph grass grasshopper groom group guard guest guitar gum gumball gumdrop gun guy gymnast haircut hairstyle
    hall hamburger hammer hamster hand handbag handful handkerchief handshake hanger hare hat hawk hay hazelnut head
    headband headphone heart helicopter helmet helping hen herb herd hexagon hiker hippo hit hive hockey hole
    holiday home homework honey hoodie hook horse hospital hostess hotdog hotel house household husband icicle idea
    igloo ingredient inhabitant inning inpatient insect instruction instrument integer intersection interval
    invitation iron island issue item jacket jaguar jar jawbreaker jean jelly jellybean jellyfish jersey jet jewel
    job jogger joke journal juice jump jumper kangaroo kayak key keyboard kid kind king kit kitchen kite kitten kiwi
    knife knight label lady ladybug lake lamb lamp lane lantern lap laptop lawn lawyer layer leader leaf leaflet leg
    lego lemon lemonade lesson letter lettuce level librarian library license lid life lifeguard light lightbulb
    lily lime line lion lipstick list lizard llama load loaf lobster lock locker lollipop loop lot lunch machine
    magazine magician magnet maid mail mailbox male mall mammal man manager mango map marathon marble marker market
    marshmallow mask mat match material meal meat meatball medal medicine meeting melon member mentor merchant
    mermaid message microphone midterm milk milkshake mill minibus minion minister minivan mint mirror mistake
    mitten model mom monitor monkey monster mop mosquito moth mother motorcycle mountain mouse move movie muffin mug
    mule museum mushroom musician muskrat nail name napkin necklace necktie nectarine needle neighbor neighborhood
    neighbour nephew nest net newspaper niece night nomination noodle nose note notebook notification novel nugget
    number nurse nut oar oatmeal object octagon octopus offer office officer olive onion opening operation opossum
    option orange orbit orchard orchid order organism ornament ostrich outcome outfit outlet oven owl owner ox
    oyster pack package packet pad page pail pain painkiller painter painting palm pan pancake panda panel paper
    parachute parade paragraph parcel parent park parrot participant party pass passenger passport password pasta
    pastry patch path patient pattern patty paw pea peach peacock peanut pear pearl pebble pecan pedestrian pen
    pencil pendant penguin pentagon people pepper performance performer permutation person pet petal petunia phone
    photo photograph photographer piano pickle picnic picture pie piece pig pigeon pill pillow pilot pin pineapple
    pirate pitch pitcher pizza plane planet plank plant planter plate platform platoon play player playlist plot
    plum plumber pocket pod poem poet pokemon police policeman polygon pomegranate pond pony pool popcorn popsicle
    porcupine portion portrait position possibility post postcard poster pot potato prank prayer pretzel principal
    print printer prize problem producer program project province pudding pumpkin punch pup pupil puppet puppy
    purchase purse pushup puzzle quadrilateral quarterback queen question quilt quiz rabbit raccoon race racer
    racket racquet radio radish raffle raft raisin ram raspberry rat rattlesnake reader receipt recipe record
    rectangle refrigerator region reindeer report representative request restaurant result review reward rhinoceros
    ribbon rice rider ring ringtone river road robin robot rock rocket roll roof room roommate rooster rope rose
    rosebush rotation round route row ruler run runner sack saddle sailor salad salary salesman salmon sandal
    sandwich sapling sauce saucer sausage scarf schedule school scientist scissors scoop scooter scorpion scout
    screen screw sculpture seal seashell season seat section seed seedling selfie seller senator senior sentence
    server serving session set shampoo shape share shark shed sheep sheet shelf shell shelter shift ship shirt shoe
    shop shopper shot shovel show shower shrimp shrub sibling side signature singer sink sister situp skate
    skater skein sketch ski skier skill skirt sled slice slide slipper slot smore snack snail snake sneaker snowball
    snowflake snowman soap soccer sock soda sofa soil soldier solution son song sophomore sound soup space spaceship
    sparkler sparrow speaker species sphere spider spin spinach sponge spoon sport spot squad squat squirrel stack
    stair stalk stall stamp stand stanza star starfish state statement station statue steak stem step stick sticker
    stitch stock stocking stool stop store storm story stove stranger straw strawberry street streetlight string
    strip stripe student studio sub subject subscriber subscription substitute suburb suit suitcase sunflower
    supplier surfer survey swan swarm sweater sweet swim swimmer swing syllable symbol syrup table tablecloth tablet
    taco tadpole tail tangerine tank tape target task taxi taxpayer tea teacher team teammate tee teenager telephone
    television tennis tent term test text textbook theater thermometer thing thorn ticket tie tiger tile tin tip
    tire toad toast toddler toe toffee token toll tomato tool tooth toothbrush toothpick topping tour tourist
    tournament towel tower town toy track tractor trader trail train trainer transaction trap trash tray treadmill
    treasure treat tree treek trial triangle trick tricycle trip trophy trout truck trumpet trunk tshirt tub tube
    tulip tuna turkey turn turnip turtle tv tweet twig type tyre umbrella uncle uniform university upload vacation
    vaccine value van vase vegetable vehicle vendor vent verse vertex veteran video view viewer village villager
    vine violin violinist virus visit visitor vlog volume volunteer vote voter voucher vowel wafer waffle wagon
    waiter waitress walk walker wall wallet walnut washer wasp watch water watermelon wave way weapon web website
    wedding weed weekday weekend whale wheel wheelchair widget wife wig win wind window wing winner wire wish wizard
    wolf woman wombat wood word work worker workout workshop worm wrapper wreath wrench wrestler writer yam yogi
    yogurt yoyo zebra zombie zoo
";

/// Plurals that no rule gives, and their singular.
pub(super) const IRREGULAR: [(&str, &str); 45] = [
    ("children", "child"),
    ("people", "person"),
    ("men", "man"),
    ("women", "woman"),
    ("mice", "mouse"),
    ("geese", "goose"),
    ("teeth", "tooth"),
    ("knives", "knife"),
    ("wives", "wife"),
    ("lives", "life"),
    ("leaves", "leaf"),
    ("loaves", "loaf"),
    ("shelves", "shelf"),
    ("bookshelves", "bookshelf"),
    ("calves", "calf"),
    ("wolves", "wolf"),
    ("elves", "elf"),
    ("dwarves", "dwarf"),
    ("scarves", "scarf"),
    ("vertices", "vertex"),
    ("dice", "die"),
    ("oxen", "ox"),
    ("cacti", "cactus"),
    ("octopi", "octopus"),
    ("quizzes", "quiz"),
    ("policemen", "policeman"),
    ("fishermen", "fisherman"),
    ("snowmen", "snowman"),
    ("freshmen", "freshman"),
    ("salesmen", "salesman"),
    ("grandchildren", "grandchild"),
    ("squares", "square"),
    ("logs", "log"),
    ("factors", "factor"),
    ("divisors", "divisor"),
    ("subsets", "subset"),
    ("signs", "sign"),
    ("zeros", "zero"),
    ("zeroes", "zero"),
    ("cubes", "cube"),
    ("bars", "bar"),
    ("products", "product"),
    ("primes", "prime"),
    ("decimals", "decimal"),
    ("springs", "spring"),
];

/// Words before a noun: they say which things, not how many.
pub(super) const ATTRIBUTES: [&str; 74] = [
    "red",
    "blue",
    "green",
    "yellow",
    "white",
    "black",
    "brown",
    "pink",
    "purple",
    "gray",
    "grey",
    "silver",
    "golden",
    "violet",
    "small",
    "little",
    "tiny",
    "medium",
    "large",
    "big",
    "huge",
    "tall",
    "short",
    "long",
    "old",
    "young",
    "new",
    "fresh",
    "ripe",
    "rotten",
    "broken",
    "empty",
    "full",
    "whole",
    "clean",
    "dirty",
    "wet",
    "dry",
    "hot",
    "cold",
    "warm",
    "frozen",
    "sweet",
    "sour",
    "baked",
    "fried",
    "stuffed",
    "plastic",
    "wooden",
    "metal",
    "leather",
    "cotton",
    "male",
    "female",
    "adult",
    "different",
    "distinct",
    "unique",
    "possible",
    "positive",
    "real",
    "more",
    "fewer",
    "less",
    "extra",
    "additional",
    "remaining",
    "other",
    "ice",
    "cream",
    "french",
    "comic",
    "jigsaw",
    "teddy",
];
