"""Spanish."""

from __future__ import annotations

from typing import Final

from edge_glass_scenes.words.language import Language, words

SPANISH: Final = Language(
    code="es",
    decimal=",",
    nutrients=words(
        "Valor energético; Grasas; de las cuales saturadas; de las cuales monoinsaturadas; "
        "de las cuales poliinsaturadas; Hidratos de carbono; de los cuales azúcares; "
        "de los cuales almidón; Fibra alimentaria; Proteínas; Sal; Vitamina C; Vitamina B6; Vitamina D; "
        "Calcio; Hierro; Magnesio"
    ),
    titles=words(
        "Información nutricional; Valores nutricionales; Valor nutricional medio; Declaración nutricional"
    ),
    per="por {amount}",
    portion=words("por ración ({amount}); ración de {amount}; por porción de {amount}"),
    intake=words("%IR*; % IR; IR* por ración"),
    footnote=words(
        "*Ingesta de referencia de un adulto medio (8400 kJ/2000 kcal).; "
        "*IR = ingesta de referencia (8400 kJ / 2000 kcal); Este envase contiene 4 raciones."
    ),
    ingredients_head=words("Ingredientes:; INGREDIENTES:"),
    ingredients=words(
        "harina de trigo; azúcar; aceite de girasol; aceite de palma; manteca de cacao; pasta de cacao; "
        "leche entera en polvo; mantequilla; huevos camperos; sal; levadura; jarabe de glucosa; "
        "gasificante: carbonatos de sodio; emulgente: lecitinas (soja); aroma natural; avellanas; almendras; "
        "cacahuetes; copos de avena; harina de arroz; maíz; patatas; tomates; cebolla; ajo; zanahorias; "
        "guisantes; aceite de oliva virgen extra; especias; acidulante: ácido cítrico; agua; "
        "zumo de manzana a partir de concentrado; fresas; sémola de trigo duro; queso (leche); nata; "
        "almidón modificado; vinagre de vino; miel; extracto de malta de cebada; carne de cerdo; "
        "extracto de pimentón; gelificante: pectina; leche desnatada"
    ),
    products=words(
        "Galletas de avena|Galletas de mantequilla; Chocolate negro|Chocolate con leche; "
        "Muesli crujiente|Copos de maíz; Macarrones|Fideos; Salsa de tomate|Tomate frito; "
        "Sopa de lentejas|Crema de verduras; Patatas fritas|Nachos; Yogur griego|Yogur con frutas; "
        "Zumo de manzana|Néctar de melocotón; Queso curado|Queso fresco; Mermelada de fresa|"
        "Dulce de membrillo; "
        "Frutos secos|Cacahuetes tostados; Pizza cuatro quesos|Pizza de jamón; Pan integral|Pan tostado; "
        "Salchichas|Jamón cocido"
    ),
    claims=words(
        "Sin azúcares añadidos; Fuente de fibra; Tamaño familiar; Nueva receta; 100% natural; Crujiente"
    ),
    sentences=(
        "Elaborado con paciencia y con los mejores productos de nuestra tierra.",
        "Trabajamos desde hace años con agricultores de la comarca.",
        "Perfecto para el desayuno, la merienda o para compartir.",
        "¿Dudas o sugerencias? Escríbanos, estaremos encantados de ayudarle.",
    ),
    storage=(
        "Conservar en lugar fresco y seco, protegido de la luz.",
        "Una vez abierto, conservar en la nevera y consumir antes de 3 días.",
        "Envasado en atmósfera protectora. Consumir preferentemente antes de: ver tapa.",
    ),
    traces=words("Puede contener trazas de frutos de cáscara y sésamo.; Puede contener mostaza y apio."),
    cooking=("Modo de preparación", "Aparato", "Ajuste", "Tiempo"),
    methods=(
        ("Horno", "200°C", "18-20 min"),
        ("Horno con aire", "180°C", "15 min"),
        ("Microondas", "800 W", "4 min"),
        ("Sartén", "fuego medio", "10 min"),
        ("Freidora de aire", "190°C", "8-9 min"),
        ("Cazo", "fuego lento", "6 min"),
    ),
    recipe=words("Para 4 personas; Receta; Nuestro consejo"),
    dosage=("Tabla de dosificación", "Edad", "Agua", "Cacitos"),
    groups=(
        ("0-2 semanas", "90 ml", "3"),
        ("1 mes", "120 ml", "4"),
        ("2 meses", "150 ml", "5"),
        ("4 meses", "180 ml", "6"),
        ("6 meses", "210 ml", "7"),
    ),
    address=(
        ("Fabricado por:", "Huerta Clara, S.L.", "Pol. Ind. Las Eras, 14", "30999 Villanueva del Pinar"),
        ("Distribuido por:", "Sabores del Llano, S.A.", "C/ Molino 7", "50999 Alcoraya del Río, España"),
    ),
    recycling=(("Bandeja", "al amarillo"), ("Estuche", "al azul"), ("Película", "a la basura")),
    net="Peso neto",
    best_before="Consumir preferentemente antes del fin de:",
)
