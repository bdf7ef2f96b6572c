"""Word lists of general English, written for this project by hand: function words, light words, common words.

They hold no names and no product's vocabulary: whatever is missing from them counts as a rare word.
"""

from __future__ import annotations

from typing import Final

from gateway.cache.semantic.guards.listing import listed

FUNCTION: Final = frozenset(
    listed("""
a an the this that these those and or but if so as than then of in on at to for from by with about into onto over under
through during between among against within upon via per is am are was were be been being do does did doing done have
has had having will would shall should can could may might must ought what which who whom whose when where why how there
here it its itself i me my mine myself we our ours ourselves you your yours yourself yourselves he him his himself she
her hers herself they them their theirs themselves one ones oneself someone somebody anyone anybody everyone everybody
something anything everything some any all each every both either also too very just only even still yet ever again not
no nor never none nobody nothing neither without vs because since while until though although whether please kindly hi
hello hey thanks thank ok okay such own same else much many more most few little lot lots other another while off out up
down let us et etc now
before after behind
""")
)
"""Words that carry grammar; what of them changes an answer is the polarity, form, person and role guards' business."""

LIGHT: Final = frozenset(
    listed("""
way method thing really actually exactly basically simply truly generally usually possible possibly probably maybe
good best nice great well better get make use go going come take give try want need like look thing people person
human guy anyone know tell say think ask answer question help mean kind sort type part lot bit case certain particular
various several different available current main actual real effective effectively efficient efficiently easy easily
easiest simple proper properly right correct correctly common popular top quick quickly fast fastest tip trick advice
suggestion step idea opinion view thought option reason cause explain explanation describe find able start begin process
procedure procedures so far main considered consider regarding related involved become happen supposed quite rather
according amazing awesome interesting favorite favourite basic whole entire absolute feel ways
overall order personally successfully successful experience someone recommend suggest wonder wondering purpose
""")
)
"""Content words whose coming or going seldom changes what is asked. Their antonyms are the polarity guard's."""

DEEDS: Final = frozenset(
    listed("""use make ask answer tell say take give explain describe start begin need want recommend compare""")
)
"""Light words that say what is done: two questions may lack or have one, but not one each."""

COMMON: Final = frozenset(
    listed("""
ability above absence abuse accept access accident account achieve across act action active activity actor actress add
addict address admission admit adult advance advantage affair affect afford afraid after afternoon age agency
agent ago agree agreement aim air airport alcohol alien alive allow almost alone along already alternative always amount
ancient angry animal apart apartment app appear apple application apply approach area argue argument arm army around
arrange arrest arrive art article artist aspect attack attempt attend attention attract attractive aunt author authority
average avoid award aware away baby back background bad bag balance ball ban band bank bar base basic basis bath battery
battle beach bear beat beautiful beauty bed bedroom beer before beginner behavior behind belief believe belong below
benefit beside beyond bias big bike billion bird birth birthday bite black blame blank blind block blog blood blow
blue board boat body boil bone book border bored boring born borrow boss bottle bottom box boy boyfriend brain branch
brand bread break breakfast breast breath breathe bridge brief bring brother brown budget build building burn bus
business busy butter button buy cake calculate call calm camera camp campus cancel cancer candidate capable capital
captain car card care career careful carry cash cat catch category celebrate celebrity cell center central century ceo
certificate chain chair challenge chance change channel chapter character charge charger chart cheap cheat check
chemical chemistry chest chicken child childhood choice choose church cigarette circle citizen city civil claim class
classic clean clear clever click client climate climb clock close closer cloth clothes cloud club coach coal code coding
coffee cold collect college color come comedy comfort comment commercial commit community company compare comparison
compete competition complain complete complex computer concept concern condition conduct conference confidence confident
confirm conflict confuse connect connection consequence constant constitution construct consume contact contain content
contest context continue contract contrast contribute control conversation convert convince cook cool copy core corner
corrupt corruption cost couch cough count country couple courage course court cousin cover crazy cream create creative
credit crime criminal crisis criticism cross crowd cry culture cup cure curious currency custom customer cut cycle daily
damage dance danger dangerous dare dark data date daughter day dead deal dear death debate debt decade decide decision
decrease deep defeat defend define definition degree delay delete deliver delivery demand democracy deny department
depend deposit depress depression depth design desire desk destroy detail detect determine develop developer development
device diet differ difference difficult difficulty dinner direct direction director dirty disadvantage disappear disease
dish distance distribute divide divorce doctor document dog dollar door double doubt download draw drawback dream dress
drink drive driver drop drug dry due during dust duty each ear early earn earth east eat economic economy edge edit
education effect effort egg election electric electricity electron element email emotion emotional employ employee
employer employment empty encourage end enemy energy engine engineer engineering enjoy enough enter entire
entrance entrepreneur entry environment equal equation equipment error escape essay essential establish estate estimate
event eventually evidence evil evolution evolve exact exam examination example excellent except exchange excite
exercise exist existence exit expand expect expensive experiment expert export express expression extend extra extreme
eye face fact factor fail failure fair faith fall false familiar family famous fan far farm farmer fashion fat father
fault favor favorite fear feature fee feed feel feeling fell female field fight figure file fill film final finance
financial finger finish fire firm fish fit fix flag flat flight floor flow flower fluent fly focus follow food foot
football force foreign forest forever forget forgive form former formula forward found foundation founder frame free
freedom freelance fresh friend friendship front fruit frustrate fuel full fun function fund funny furniture future gain
game gap garden gas gay general generate generation genius gentle genuine ghost giant gift girl girlfriend glad glass
global goal god gold government grade gradual graduate graduation grammar grand grandmother graph grass gravity
gray green grocery ground group grow growth guarantee guard guess guest guide guilty guitar gun gym habit hair half hall
hand handle hang happy happiness hard hardware hate head headache health healthy hear heart heat heavy height hell hero
hidden hide high highway hill hire historical history hit hobby hold hole holiday home homework honest honor hope horror
horse hospital host hot hotel hour house household however huge hundred hunger hungry hunt hurt husband ice ideal
identify identity ignore ill illegal image imagine immediate immigrant immigration impact imply import
important impossible
impress improve improvement incident include income increase independent individual industrial industry infection
influence inform information initial inner innocent insect inside inspire install instance instead institute institution
instruction instrument insurance intelligence intelligent intend interest interesting internal international internet
internship interpret interview introduce introvert invent invention invest investment investor invite iron island issue
item jail jealous job join joke journal journalist journey judge juice jump junior justice keep key keyboard kick kid
kill king kiss kitchen knee knife knowledge label labor lack ladder lady lake land language laptop large last late later
laugh launch law lawyer lazy lead leader leadership leaf leak learn least leave lecture left leg legal legend lend
length less lesson letter level liberal library license lie life lift light limit limited line link lion lip list listen
literature live loan local location lock logic lonely long lose loss lost loud love low loyal luck lucky lunch machine
magazine magic mail maintain major male man manage management manager manner manufacture map march market marketing
marriage marry mass massive master match material mathematics math matter mature maximum meal measure meat mechanical
medal media medical medication medicine meditate meditation medium meet meeting member membership memorize memory mental
mention menu message metal middle midnight military milk mind mine minimum minister minor minority mirror miss mission
mistake mix mobile model modern moment money monitor monkey monster month mood moon moral morning mortgage mother
motivate motivation motor mountain mouse mouth move movement movie multiple murder muscle museum music musical muslim
mutual mystery name narrow nation national native natural nature near necessary neck negative neighbor neighborhood
nervous network new news newspaper next night noise noodle normal north nose note notebook notice novel nuclear number
nurse object obtain obvious occur ocean offer office officer official often oil old once online open operate operation
opponent opportunity oppose opposite orange ordinary organ organic organization organize origin original outside oven
overcome owe own owner oxygen pack package page pain paint painting pair palace pan panic paper paragraph parent park
particle partner party pass passenger passion passport password past path patient pattern pause pay payment peace peer
pen penalty pencil penny per percent percentage perfect perform performance period permanent permission permit
personal personality perspective pet phd philosophy phone photo photographer photography phrase physical physics piano
pick picture piece pill pilot pink pizza place plan plane planet plant plastic plate platform play player pleasure plot
plus poem poet poison police policy political politician politics pollution pool poor population position positive
possess post poster potato potential pound poverty power powerful practical practice praise pray prayer predict prefer
pregnancy pregnant premium preparation prepare presence present presentation president press pressure pretend pretty
prevent previous price pride primary prime prince princess principle print prior prison privacy private prize problem
produce product production profession professional professor profile profit program programming progress project promise
promote promotion pronounce proof property propose protect protein protest proud prove provide province psychology
public publish pull punish punishment purchase pure push put qualification qualify quality quantum quarter queen quiet
quit race racism racist radio rain raise random range rank rape rare rate ratio raw reach react reaction read reader
reading ready realize rebuild recall receive recent recipe recognize record recover red reduce refer reference reflect
refugee refund refuse regime region register registration regret regular reject relate relation relationship relative
relax release reliable religion religious rely remain remarkable remember remind remote remove rent repair repeat
replace reply report represent reputation request require requirement research reserve resolution resolve resource
respect respond response responsibility responsible rest restaurant result resume retail retire retirement return reveal
revenue reverse review revolution reward rice rich ride ring rise risk river road rob robot rock role roll roof room
root rope rough round route routine row royal rule ruler run rural rush sad safe safety salary sale salt sand satisfy
save scale scam scar scare scary scene schedule scholarship school science scientific scientist scope score screen
script sea search season seat second secret secretary section sector secure security see seed seek seem select self
sell semester send senior sense sensitive sentence separate series serious servant serve server service session set
settle setup seven severe sex sexual shadow shake shame shape share sharp shave sheet shelf shell ship shirt shock shoe
shoot shop shopping short shot shoulder shout show shower shut shy sick side sight sign signal significance significant
silence silent silver similar sin sing singer single sink sister sit site situation size skill skin skip sky slave
slavery sleep slide slim slow small smart smartphone smell smile smoke smooth snake snow soap soccer social society soft
software soil soldier solid solution solve son song soon soul sound soup source south space spam speak speaker special
specialist species specific speech speed spell spelling spend spirit spiritual split spoil sport spot spread spring spy
square stable staff stage stain stair stamp stand standard star state statement station statistics status stay steal
steel stick stock stomach stone stop storage store storm story straight strange stranger strategy stream street strength
stress strict strike string strong structure struggle student study stuff stupid style subject submit subscribe
succeed success sudden suffer sugar suicide suit suitable sum summary summer sun superior supply support suppose supreme
sure surface surgery surprise survey survive survivor suspect suspend swallow swear sweat sweet swim switch symbol
symptom syndrome system table tablet talent talk tall tank target task taste tattoo tax taxi tea teach teacher team tear
technical technique technology teenager tooth telephone television temple temporary tend tension term terrible territory
terror terrorism terrorist test text theme theory therapy thick thin third thousand threat thread throat throw ticket
tie tiger tight time tiny tire tired title toast tobacco today toe together toilet tomorrow tone tongue tonight tool
topic torture total touch tough tour tourism tourist toward towel tower town toy track trade tradition traditional
traffic train trainer training trait transfer transform transition translate translation transport transportation trap
trash travel treat treatment tree trend trial tribe trip trouble truck true trust truth tube turn tutor tutorial twice
twin twist typical ugly ultimate uncle understand unemployed unemployment uniform union unique unit universal universe
university unknown unlike unlock unusual update upgrade upload upper upset urban urge urine usage usual vacation vacuum
valid valley valuable value variable variety vary vegetable vegetarian vehicle verify version versus victim victory
video village violence violent virgin virtual virus visa vision visit visitor visual vitamin vocabulary voice volume
vote voter wage wait wake walk wall wallet wander war warm warn warning wash waste watch water wave weak weakness wealth
wealthy weapon wear weather web website wedding week weekend weigh weight weird welcome welfare west western wheel white
whole wide wife wild win wind window wine wing winner winter wipe wire wireless wise wish withdraw woman wood word work
worker world worm worry worse worst worth wound wrap write writer writing wrong yard year yellow yes yesterday yoga
young youth zero zone
""")
)
"""The base forms of common content words."""
